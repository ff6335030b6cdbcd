"""HTTP messages: how they are read, what of them passes, and how they are written. Nothing here waits."""
