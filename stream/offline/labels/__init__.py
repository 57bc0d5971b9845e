"""Labels: what somebody says that sessions were. See docs/labels.md."""
