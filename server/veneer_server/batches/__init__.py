"""Batches: files of requests that are answered beside live traffic, into files of answers."""
