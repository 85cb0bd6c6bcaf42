"""What is known about a face (box, landmarks, number), which faces are selected, and how crops are aligned."""
