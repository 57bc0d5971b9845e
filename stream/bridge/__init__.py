"""The bridge: signed revocations are carried out at the providers that issued the credentials, and what became of each is told."""
