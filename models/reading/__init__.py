"""The reader: a small encoder that reads a call beside the intent and the words of answers that led to it."""
