"""What every subject needs: lines, characters, stores, the registry, errors, logs."""
