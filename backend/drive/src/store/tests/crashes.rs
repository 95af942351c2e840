//! Power is lost at any IO.
