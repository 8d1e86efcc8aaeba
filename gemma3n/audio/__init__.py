"""Audio tower: waveform -> mel spectrogram -> audio features."""
