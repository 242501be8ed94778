"""The ``systolith`` command."""
