//! (header to come with the first slice)
