"""The commands of the fake macOS. They run inside its root; `fakemac` copies this package there."""
