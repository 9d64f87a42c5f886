"""Weights and where they live: the catalog, the loader, adapters, tiers of machines, and which component is on the device."""
