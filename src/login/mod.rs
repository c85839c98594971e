//! Sign-in and sign-out of people with a browser.

pub mod landing;
pub mod pages;
pub mod response;
