"""The six wire APIs, one file each, over the core."""
