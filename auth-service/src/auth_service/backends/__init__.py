"""Everything outside the process, which the core reaches through its ports."""
