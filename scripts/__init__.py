"""What a person starts: the commands, their set-up, and the browser board."""
