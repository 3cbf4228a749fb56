"""The ways of telling a person, one file each."""
