"""A deterministic simulation of the core: real decisions, simulated workers, clients, store, network and clock.

Start with ``world``. What must hold is in ``invariants``, what was promised in ``ledger``; what goes wrong is in
``faults``.
"""
