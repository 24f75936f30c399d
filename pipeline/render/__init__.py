"""The command `recon render`: an asset under any light, from any camera."""
