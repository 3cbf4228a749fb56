"""`make chaos`: reminders come due while everything that may crash is killed, and an independent ledger is checked."""
