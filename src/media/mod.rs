//! Media between transports: UpTrack, DownTrack, munger, retransmission cache, reports.
