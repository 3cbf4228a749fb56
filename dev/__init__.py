"""What `make` runs on a developer's machine: the environment, embedded servers, locks and sample data."""
