"""Small servers of the peers that are libraries: each broadcasts every message it gets, the way its library advises.

Each file is a program of its own: ``python FILE PORT``. None knows the benchmark; what may differ is only the library.
"""
