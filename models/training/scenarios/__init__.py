"""Matched scenarios: sessions made from recorded ones so that nothing by itself tells the label.

Recorded attacks share a template, a few targets, a few tools; a detector that learns those does well on
them and fails elsewhere. Here sessions come in *pairs*, sets of twins that differ in one thing only. The
same call is drift in one twin and asked for in another; the same text is obeyed in one, ignored in the next,
and backed by the user's intent in a third. What is left to learn from is whether the declared intent covers
the act, and where the act's arguments came from.

Modules
-------
demands, wordings, placing : one sentence that asks for an act, ways of putting it into a text, and where that is put
splices : twins made from benign sessions of any source by splicing in another session's act
recorded_attacks : twins made from recorded attacks by rewording, removing or renaming what is fixed in them

Generated sessions have the fields of recorded ones, and ``variant`` (kind of twin), ``wording`` (family of
the demanding text, or null), ``origin`` and ``donor`` (session ids) and ``pair`` (shared by twins). All
randomness comes from a `random.Random` whose seed is a hash of ids. Nothing here reads files.
"""
