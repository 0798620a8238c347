"""What people are shown: text that is safe to print, folded names, tables for notebooks."""
