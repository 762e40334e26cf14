"""The life of one request, without HTTP."""
