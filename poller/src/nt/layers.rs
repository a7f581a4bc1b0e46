//! The socket below the layers that other programs put between Winsock and the system.
//!
//! `SIO_BASE_HANDLE` is for every layer to pass down, but some answer it themselves, with an error or
//! with nothing: Komodia's, as shipped with Astrill and Qustodio, is known for it. They pass
//! on what was meant for them alone, so the question for one's own next layer leads down step by step.
//! Found out by the wepoll and mio projects.

use std::io;

use super::Handle;

/// What a socket may be asked for, by the code that Winsock has for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// The socket below all layers: `SIO_BASE_HANDLE`.
    Base = 0x4800_0022,
    /// The next one below that is used for `WSAPoll`: `SIO_BSP_HANDLE_POLL`.
    Poll = 0x4800_001D,
    /// For `select`: `SIO_BSP_HANDLE_SELECT`.
    Select = 0x4800_001C,
    /// For all else: `SIO_BSP_HANDLE`.
    Next = 0x4800_001B,
}

/// How many layers are gone through at most: one that goes in circles must end.
const LAYERS_MAX: usize = 16;

/// The Winsock error of what is no socket at all.
const NOT_A_SOCKET: i32 = 10038;

/// Goes down until some layer knows the lowest socket.
///
/// # Errors
///
/// Not a socket; or what the topmost layer has answered when it was asked first, as no layer knows.
pub(crate) fn base_of(
    socket: Handle,
    mut ask: impl FnMut(Handle, Question) -> io::Result<Handle>,
) -> io::Result<Handle> {
    let mut at = socket;
    let mut refusal = None;
    for _ in 0..LAYERS_MAX {
        match ask(at, Question::Base) {
            Ok(base) => return Ok(base),
            Err(error) if error.raw_os_error() == Some(NOT_A_SOCKET) => return Err(error),
            Err(error) => refusal = refusal.or(Some(error)),
        }
        let below = [Question::Poll, Question::Select, Question::Next]
            .into_iter()
            .find_map(|question| ask(at, question).ok().filter(|below| *below != at));
        let Some(below) = below else { break };
        at = below;
    }
    Err(refusal.unwrap_or_else(|| io::Error::from(io::ErrorKind::Unsupported)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOP: Handle = Handle(4);
    const MIDDLE: Handle = Handle(8);
    const BASE: Handle = Handle(12);
    /// `WSAEOPNOTSUPP`.
    const NOT_SUPPORTED: i32 = 10045;

    /// Layers that know what is listed, and nothing else.
    fn base(known: &[(Handle, Question, Handle)]) -> Result<Handle, Option<i32>> {
        let found = base_of(TOP, |socket, question| {
            let mut known = known.iter();
            let known = known.find(|known| (known.0, known.1) == (socket, question));
            let refusal = io::Error::from_raw_os_error(NOT_SUPPORTED);
            known.map(|known| known.2).ok_or(refusal)
        });
        found.map_err(|error| error.raw_os_error())
    }

    #[test]
    fn a_socket_without_layers_is_its_own_base() {
        assert_eq!(base(&[(TOP, Question::Base, TOP)]), Ok(TOP));
    }

    #[test]
    fn a_layer_that_passes_the_question_on_is_believed() {
        assert_eq!(base(&[(TOP, Question::Base, BASE)]), Ok(BASE));
    }

    #[test]
    fn layers_that_do_not_are_gone_through_one_by_one() {
        for question in [Question::Poll, Question::Select, Question::Next] {
            let two = [
                (TOP, question, MIDDLE),
                (MIDDLE, question, BASE),
                (BASE, Question::Base, BASE),
            ];
            assert_eq!(base(&two), Ok(BASE), "{question:?}");
        }
    }

    #[test]
    fn who_answers_with_itself_or_in_circles_is_no_help() {
        let itself = [(TOP, Question::Poll, TOP), (TOP, Question::Next, TOP)];
        assert_eq!(base(&itself), Err(Some(NOT_SUPPORTED)));
        let circle = [(TOP, Question::Poll, MIDDLE), (MIDDLE, Question::Poll, TOP)];
        assert_eq!(base(&circle), Err(Some(NOT_SUPPORTED)));
        assert_eq!(base(&[]), Err(Some(NOT_SUPPORTED)));
    }

    #[test]
    fn what_is_no_socket_is_asked_once() {
        let mut asked = 0;
        let found = base_of(TOP, |_, _| {
            asked += 1;
            Err(io::Error::from_raw_os_error(NOT_A_SOCKET))
        });
        assert_eq!(found.unwrap_err().raw_os_error(), Some(NOT_A_SOCKET));
        assert_eq!(asked, 1);
    }
}
