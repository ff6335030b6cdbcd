"""The wire APIs over the core, one file each."""
