"""What may be promised of false alerts by sessions that were seen, and the alarm when traffic is another: numpy alone."""
