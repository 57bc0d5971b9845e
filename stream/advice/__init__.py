"""The stage that asks a language model for second opinions: what it remembers, what it asks, what it may spend."""
