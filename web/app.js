// Call page; see colchis-client.js for the protocol.
import "./colchis-client.js";
