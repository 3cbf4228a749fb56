"""`make chaos`: reminders come due while processes are killed; an independent ledger checks what arrived."""
