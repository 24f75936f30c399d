"""`recon bench`: runs captures whose truth is known, and says how far the assets are from it."""
