"""Writing the trail of accesses before anything is answered (federation, section 7)."""
