"""A page in the browser: draw from trained models, compare, listen, look. Needs the extra 'ui'."""
