"""The public certificate: who asks for it and keeps it current."""
