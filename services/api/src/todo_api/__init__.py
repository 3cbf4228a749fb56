"""The door that people's clients come in by: HTTP over `todo_core`."""
