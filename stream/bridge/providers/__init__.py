"""One file for each provider: what a reference means there, the call that revokes it, and what stays valid all the same."""
