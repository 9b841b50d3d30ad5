//! Tests over whole files: [`made_up`] files without a player, damage of every kind, and footage by
//! ffmpeg's encoders played back by ffprobe.

mod damage;
mod foreign;
mod foreign_codecs;
mod made_up;
