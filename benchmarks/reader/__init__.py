"""An experiment: a small encoder reads intent, call and the text between them. No release has it.

``texts`` makes what it is shown, ``pairs`` chooses calls to learn from, ``fit`` trains it, ``exact`` runs it in whole numbers.
"""
