"""The channels: inbox, e-mail and webhook, one file each."""
