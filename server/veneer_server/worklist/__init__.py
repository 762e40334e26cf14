"""Work that is kept in rows until one of several servers has done it; batches and jobs are such."""
