"""The tools that `make` runs on a developer's machine: environment, embedded servers, locks and sample data."""
