"""Networks and their training (torch). Nothing on the glasses imports this."""
