"""The steps of a cycle as data, and who carries them out: this process, or others on this and other machines."""
