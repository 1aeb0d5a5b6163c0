"""Looking at what runs: logs, statistics, processes."""
