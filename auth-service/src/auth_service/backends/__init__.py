"""Everything outside the process, one file per thing behind a port of the core."""
