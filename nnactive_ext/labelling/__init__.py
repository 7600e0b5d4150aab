"""From chosen patches and answers to labels in place, whoever annotates."""
