"""What a run says at its end: files, film, errors against truth, and whether to believe it."""
