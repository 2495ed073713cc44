"""What a Gestionnaire must do, over plain HTTP; see `tests/contract/README.md`."""
