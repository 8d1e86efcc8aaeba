"""The data recipe of the nano checkpoint: packages -> training manifests."""
