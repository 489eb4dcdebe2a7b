//! One peer's transport: ICE-lite agent, DTLS behind its guards, SRTP and SRTCP, TWCC feedback.
